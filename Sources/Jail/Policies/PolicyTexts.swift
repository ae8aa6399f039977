// Configs/seccomp, for a binary that opens no file for it. A test compares the two.

extension Policy {
    /// The texts by the kinds of process that they are for; every kind has `common` as well.
    static let texts: [String: String] = [
        "common": """
        # What every jailed process may do: run Swift threads, wait, move bytes on what it has open.
        # Format: Docs/jail.md.

        # Waiting and events.
        epoll_create1
        epoll_ctl
        epoll_wait
        eventfd2
        poll
        futex
        restart_syscall                   # rare: after SIGSTOP and SIGCONT

        # Bytes, on descriptors that are open already.
        read
        write
        readv
        writev
        close
        fstat                             # rare: some versions of libc have it in the place of newfstatat
        lseek
        fcntl arg1=3                      # F_GETFL
        fcntl arg1=4                      # F_SETFL
        fcntl arg1=1030                   # F_DUPFD_CLOEXEC
        fcntl arg1=1033                   # F_ADD_SEALS
        fcntl arg1=1034                   # F_GET_SEALS
        fstatfs                           # whether a log of writes is in ordinary memory
        newfstatat arg3=0x1000            # AT_EMPTY_PATH: of a descriptor
        statx arg2&0x1000=0x1000          # the same
        recvmsg
        sendmsg
        sendto
        accept4                           # on the one listening socket there may be

        # Memory: of the process itself, and of files that somebody passes; nothing can be made executable.
        brk
        mmap arg2=0                       # PROT_NONE
        mmap arg2=3                       # PROT_READ | PROT_WRITE
        mprotect arg2=0                   # rare: a thread's stack that is used again gets another guard
        mprotect arg2=3
        munmap
        mremap                            # rare: malloc grows what it has mapped
        madvise
        memfd_create                      # where requests in flight are noted
        ftruncate

        # Threads of this process, and nothing but threads; clone3 has its flags where no filter can look.
        clone arg0=0x3d0f00
        clone3 errno=38                   # ENOSYS: libc falls back to clone
        set_robust_list
        rseq
        rt_sigprocmask
        rt_sigreturn
        gettid
        getpid
        prctl arg0=15                     # PR_SET_NAME
        exit
        exit_group

        # Time and chance.
        clock_gettime                     # rare: hosts whose clock the vDSO cannot read
        getrandom

        """,
        "block": """
        # A disk: reads and writes of its image, by io_uring (restricted before the jail closed) or by system calls.
        io_uring_enter
        preadv                            # rare: without io_uring, and files in memory
        pwritev                           # rare: the same
        preadv2
        pwritev2
        fdatasync                         # rare: without io_uring
        fallocate                         # rare: without io_uring
        ioctl arg1=0x1277                 # rare: BLKDISCARD, of a block device
        ioctl arg1=0x127f                 # rare: BLKZEROOUT, the same

        # For the host's kernel (--vduse); the node is open already.
        ioctl arg1=0xc0208110             # rare: VDUSE_IOTLB_GET_FD, of which nothing but a mapping is made
        ioctl arg1=0x80088111             # rare: VDUSE_DEV_GET_FEATURES
        ioctl arg1=0x40088112             # rare: VDUSE_DEV_SET_CONFIG
        ioctl arg1=0x8113                 # rare: VDUSE_DEV_INJECT_CONFIG_IRQ
        ioctl arg1=0xc0308115             # rare: VDUSE_VQ_GET_INFO
        ioctl arg1=0x40088116             # rare: VDUSE_VQ_SETUP_KICKFD
        ioctl arg1=0x40048117             # rare: VDUSE_VQ_INJECT_IRQ

        """,
        "net": """
        # A network interface: frames to and from a tap or a stream socket.
        ioctl arg1=0x400454d0             # TUNSETOFFLOAD
        ioctl arg1=0x400454d9             # rare: TUNSETQUEUE, of a tap with several queues

        """,
        "rng": """
        # A source of entropy.

        """,
        "console": """
        # A console: bytes to and from a stream, a pseudo-terminal or clients of a socket.
        ioctl arg1=0x5411                 # rare: SIOCOUTQ: what the peer of a stream has not read yet

        """,
        "vmm": """
        # A virtual machine: KVM, RAM, the serial port's stream, and the connections to its devices' processes.
        tgkill                            # to have a virtual CPU leave the guest
        socketpair arg0=1                 # AF_UNIX: the channel on which a back-end asks
        pipe2                             # through which the state of a device goes
        pread64                           # the kernel, the files of saved RAM, page tables
        preadv
        pwritev                           # RAM that is saved
        sendfile                          # RAM that is restored
        ioctl arg1=0x5411                 # rare: SIOCOUTQ, of a serial port on a stream
        ioctl arg1=0xc0606610             # rare: PAGEMAP_SCAN, without devices: RAM that nobody shares

        # KVM: the system, a virtual machine, its virtual CPUs.
        ioctl arg1=0xae00                 # KVM_GET_API_VERSION
        ioctl arg1=0xae01                 # KVM_CREATE_VM
        ioctl arg1=0xae03                 # KVM_CHECK_EXTENSION
        ioctl arg1=0xae04                 # KVM_GET_VCPU_MMAP_SIZE
        ioctl arg1=0xc008ae05             # KVM_GET_SUPPORTED_CPUID
        ioctl arg1=0xc004ae02             # KVM_GET_MSR_INDEX_LIST
        ioctl arg1=0xae41                 # KVM_CREATE_VCPU
        ioctl arg1=0x4010ae42             # rare: KVM_GET_DIRTY_LOG, with trackWrites
        ioctl arg1=0x4020ae46             # KVM_SET_USER_MEMORY_REGION
        ioctl arg1=0xae47                 # KVM_SET_TSS_ADDR
        ioctl arg1=0x4008ae48             # KVM_SET_IDENTITY_MAP_ADDR
        ioctl arg1=0x4008ae6a             # rare: KVM_SET_GSI_ROUTING, with MSI-X
        ioctl arg1=0x4020ae76             # KVM_IRQFD
        ioctl arg1=0x4040ae79             # rare: KVM_IOEVENTFD, of drivers
        ioctl arg1=0x4030ae7b             # KVM_SET_CLOCK
        ioctl arg1=0x8030ae7c             # KVM_GET_CLOCK
        ioctl arg1=0x4020aea5             # rare: KVM_SIGNAL_MSI, with MSI-X
        ioctl arg1=0x4068aea3             # KVM_ENABLE_CAP
        ioctl arg1=0xae80                 # KVM_RUN
        ioctl arg1=0x8090ae81             # KVM_GET_REGS
        ioctl arg1=0x4090ae82             # KVM_SET_REGS
        ioctl arg1=0x8138ae83             # KVM_GET_SREGS
        ioctl arg1=0x4138ae84             # KVM_SET_SREGS
        ioctl arg1=0xc008ae88             # KVM_GET_MSRS
        ioctl arg1=0x4008ae89             # KVM_SET_MSRS
        ioctl arg1=0x8400ae8e             # KVM_GET_LAPIC
        ioctl arg1=0x4400ae8f             # KVM_SET_LAPIC
        ioctl arg1=0x4008ae90             # KVM_SET_CPUID2
        ioctl arg1=0x8004ae98             # KVM_GET_MP_STATE
        ioctl arg1=0x4004ae99             # KVM_SET_MP_STATE
        ioctl arg1=0x8040ae9f             # KVM_GET_VCPU_EVENTS
        ioctl arg1=0x4040aea0             # KVM_SET_VCPU_EVENTS
        ioctl arg1=0xaea2                 # rare: KVM_SET_TSC_KHZ, on another host
        ioctl arg1=0xaea3                 # KVM_GET_TSC_KHZ
        ioctl arg1=0x8080aea1             # KVM_GET_DEBUGREGS
        ioctl arg1=0x4080aea2             # KVM_SET_DEBUGREGS
        ioctl arg1=0x9000aea4             # KVM_GET_XSAVE
        ioctl arg1=0x5000aea5             # KVM_SET_XSAVE
        ioctl arg1=0x9000aecf             # rare: KVM_GET_XSAVE2, where the state is larger than 4 KiB
        ioctl arg1=0x8188aea6             # KVM_GET_XCRS
        ioctl arg1=0x4188aea7             # KVM_SET_XCRS
        ioctl arg1=0x4018aee2             # KVM_GET_DEVICE_ATTR
        ioctl arg1=0x4018aee1             # KVM_SET_DEVICE_ATTR
        ioctl arg1=0xaead                 # KVM_KVMCLOCK_CTRL

        # vDPA devices of the host's kernel; their nodes are open already.
        ioctl arg1=0x8008af00             # rare: VHOST_GET_FEATURES
        ioctl arg1=0x4008af00             # rare: VHOST_SET_FEATURES
        ioctl arg1=0xaf01                 # rare: VHOST_SET_OWNER
        ioctl arg1=0x4008af10             # rare: VHOST_SET_VRING_NUM
        ioctl arg1=0x4028af11             # rare: VHOST_SET_VRING_ADDR
        ioctl arg1=0x4008af12             # rare: VHOST_SET_VRING_BASE
        ioctl arg1=0xc008af12             # rare: VHOST_GET_VRING_BASE
        ioctl arg1=0x4008af20             # rare: VHOST_SET_VRING_KICK
        ioctl arg1=0x4008af21             # rare: VHOST_SET_VRING_CALL
        ioctl arg1=0x4008af25             # rare: VHOST_SET_BACKEND_FEATURES
        ioctl arg1=0x8008af26             # rare: VHOST_GET_BACKEND_FEATURES
        ioctl arg1=0x8004af70             # rare: VHOST_VDPA_GET_DEVICE_ID
        ioctl arg1=0x8001af71             # rare: VHOST_VDPA_GET_STATUS
        ioctl arg1=0x4001af72             # rare: VHOST_VDPA_SET_STATUS
        ioctl arg1=0x8008af73             # rare: VHOST_VDPA_GET_CONFIG
        ioctl arg1=0x4008af75             # rare: VHOST_VDPA_SET_VRING_ENABLE
        ioctl arg1=0x8002af76             # rare: VHOST_VDPA_GET_VRING_NUM
        ioctl arg1=0x4004af77             # rare: VHOST_VDPA_SET_CONFIG_CALL
        ioctl arg1=0x8010af78             # rare: VHOST_VDPA_GET_IOVA_RANGE
        ioctl arg1=0x8004af79             # rare: VHOST_VDPA_GET_CONFIG_SIZE
        ioctl arg1=0xaf7d                 # rare: VHOST_VDPA_SUSPEND
        ioctl arg1=0xaf7e                 # rare: VHOST_VDPA_RESUME
        ioctl arg1=0x8004af80             # rare: VHOST_VDPA_GET_VQS_COUNT
        prlimit64 arg2=0                  # rare: what limit to name when a device cannot reach RAM for it

        """,
    ]
}
