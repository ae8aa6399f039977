import GuestMemory
import Host
import Virtqueue

/// The memory that a driver in the host's kernel has mapped for its device (VDUSE_IOTLB_GET_FD).
///
/// What the device may only read is a private copy of ours as soon as it is written, so that nothing written arrives; what it may only write
/// cannot be mapped on Linux, and is left out.
struct VDUSEMemory {
    /// More than any driver has, of which some map each part of a guest's RAM on its own.
    private static let mostRegions = 512

    /// All that is mapped now. The kernel's own drivers map more without a word, when they first need it: that is found when it is used.
    static func all(of kernel: any VDUSEKernel, report: @escaping @Sendable (String) -> Void) throws(SystemError) -> GuestMemory {
        var regions: [ForeignRegion] = []
        var first: UInt64? = 0
        while let address = first, regions.count < mostRegions, let found = try kernel.mapping(from: address) {
            if let region = region(found.mapping, found.file, report) { regions.append(region) }
            // The kernel gives them in no order but that of its tree; each is looked for behind the one before.
            let (next, overflow) = found.mapping.last.addingReportingOverflow(1)
            first = overflow || next <= address ? nil : next
        }
        let late = LateMemory { address in
            guard let found = try? kernel.mapping(from: address), found.mapping.first <= address else { return nil }
            return region(found.mapping, found.file, report)
        }
        return try GuestMemory(foreign: regions, late: late)
    }

    private static func region(
        _ mapping: VDUSENode.Mapping, _ file: Slot<OwnedDescriptor>, _ report: @Sendable (String) -> Void
    ) -> ForeignRegion? {
        let place = "memory from \(hexadecimal(mapping.first)) to \(hexadecimal(mapping.last))"
        let (size, overflow) = (mapping.last &- mapping.first).addingReportingOverflow(1)
        guard mapping.first <= mapping.last, !overflow, let file = file.take() else {
            report("its driver has \(place), which cannot be")
            return nil
        }
        guard mapping.isReadable else {
            report("its driver has \(place) that may not be read, which cannot be mapped")
            return nil
        }
        do throws(SystemError) {
            return try ForeignRegion(
                guestAddress: mapping.first, size: size, file: file, fileOffset: mapping.offset, isReadOnly: !mapping.isWritable,
                mayBeSpecial: true)
        } catch {
            report("its driver has \(place) that cannot be mapped (\(error))")
            return nil
        }
    }
}
