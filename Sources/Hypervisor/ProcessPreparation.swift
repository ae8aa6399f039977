import CLinux

/// What a process does before it gives up the right to: install the signal handler by which virtual CPUs are reached. Any other process does so
/// when it first runs one.
public func prepareProcessForVirtualCPUs() { swv_kvm_prepare_process() }
