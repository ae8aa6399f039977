import NIOCore
import Schema

extension ControlConnection {
    /// Does what a whole request asks for.
    func perform(_ exchange: ControlExchange) {
        switch exchange.match {
        case .failure(let refusal): answer(refusal, to: exchange)
        case .success(.options(let allow)): answer(ControlResponse(204, nil, allow: allow), to: exchange)
        case .success(.route(let route, let argument)):
            do throws(ControlResponse.Refusal) {
                try perform(route.operation, argument, exchange)
            } catch {
                answer(error, to: exchange)
            }
        }
    }

    private func perform(_ operation: ControlRoute.Operation, _ argument: String, _ exchange: ControlExchange) throws(ControlResponse
        .Refusal)
    {
        let vm = services.vm
        switch operation {
        case .info: answer(ControlResponse(200, vm.info()), to: exchange)
        case .configuration: answer(ControlResponse(200, vm.configuration()), to: exchange)
        case .devices: answer(ControlResponse(200, ["devices": .array(vm.devices())]), to: exchange)
        case .device:
            guard let device = vm.devices().first(where: { $0.member("id") == .string(argument) }) else {
                throw .notFound("The VM has no device \"\(ControlRoute.shortened(argument))\".")
            }
            answer(ControlResponse(200, device), to: exchange)
        case .events: beginStream(exchange)
        case .sleep:
            _ = try ControlBody.decode(exchange.body, EmptyRequest.init)
            submit(exchange) { () throws(VMError) in ControlResponse(200, ["state": "asleep", "changed": .bool(try vm.sleep())]) }
        case .wake:
            _ = try ControlBody.decode(exchange.body, EmptyRequest.init)
            submit(exchange) { () throws(VMError) in ControlResponse(200, ["state": "running", "changed": .bool(try vm.wake())]) }
        case .snapshot:
            let request = try ControlBody.decode(exchange.body, SnapshotRequest.init)
            submit(exchange) { () throws(VMError) in ControlResponse(200, try vm.snapshot(request)) }
        case .stop:
            let request = try ControlBody.decode(exchange.body, StopRequest.init)
            submit(exchange) { () throws(VMError) in
                try vm.stop(force: request.force)
                return ControlResponse(202, ["accepted": "stop"])
            }
        case .upgradeDevice:
            _ = try ControlBody.decode(exchange.body, EmptyRequest.init)
            submit(exchange) { () throws(VMError) in
                ControlResponse(200, ["id": .string(argument), "pid": .integer(Int64(try vm.upgradeDevice(argument)))])
            }
        case .powerButton:
            _ = try ControlBody.decode(exchange.body, EmptyRequest.init)
            submit(exchange) { () throws(VMError) in
                vm.pressPowerButton()
                return ControlResponse(202, ["accepted": "power-button"])
            }
        }
    }

    /// Gives a command to the command thread; its answer comes when it has been carried out.
    private func submit(_ exchange: ControlExchange, _ command: @escaping @Sendable () throws(VMError) -> ControlResponse) {
        guard let context else { return }
        phase = .working(exchange)
        let myself = NIOLoopBound(self, eventLoop: context.eventLoop)
        let gate = services.gate
        let job = CommandThread.Job(
            run: {
                let response: ControlResponse
                do throws(VMError) {
                    response = try command()
                } catch {
                    response = ControlResponse(ControlResponse.Refusal(error))
                }
                gate.execute { myself.value.commandEnded(response) }
            }, refuse: { gate.execute { myself.value.commandEnded(ControlResponse(.ending)) } })
        switch services.commands.submit(job) {
        case .accepted: break
        case .full:
            answer(.busy("\(services.limits.waitingCommands) commands wait already; try again later."), to: exchange)
        case .closed: answer(.ending, to: exchange)
        }
    }

    private func commandEnded(_ response: ControlResponse) {
        guard case .working(let exchange) = phase else { return }
        answer(response, to: exchange)
    }
}

extension JSONValue {
    /// A member of an object; nil when there is none, or this is no object.
    func member(_ key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members[key]
    }
}
