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
        epoll_pwait
        eventfd2
        poll
        ppoll
        futex
        clock_nanosleep
        restart_syscall
        timerfd_create
        timerfd_settime

        # Bytes, on descriptors that are open already.
        read
        write
        readv
        writev
        close
        fstat
        lseek
        fcntl arg1=1                      # F_GETFD
        fcntl arg1=2                      # F_SETFD
        fcntl arg1=3                      # F_GETFL
        fcntl arg1=4                      # F_SETFL
        fcntl arg1=1030                   # F_DUPFD_CLOEXEC
        fcntl arg1=1033                   # F_ADD_SEALS
        newfstatat arg3=0x1000            # AT_EMPTY_PATH: of a descriptor
        statx arg2&0x1000=0x1000          # the same
        recvmsg
        sendmsg
        sendto
        accept4                           # on the one listening socket there may be

        # Memory: of the process itself, and of files that somebody passes; nothing can be made executable.
        brk
        mmap arg2=0                       # PROT_NONE
        mmap arg2=1                       # PROT_READ
        mmap arg2=3                       # PROT_READ | PROT_WRITE
        mprotect arg2=0
        mprotect arg2=1
        mprotect arg2=3
        munmap
        mremap
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
        sched_getaffinity
        sched_yield
        gettid
        getpid
        prctl arg0=15                     # PR_SET_NAME
        exit
        exit_group

        # Time and chance.
        clock_gettime
        gettimeofday
        getrandom

        """,
        "block": """
        # A disk: reads and writes of its image, by io_uring (restricted before the jail closed) or by system calls.
        io_uring_enter
        preadv
        pwritev
        preadv2
        pwritev2
        pread64
        pwrite64
        fdatasync
        fallocate
        ioctl arg1=0x1277                 # BLKDISCARD
        ioctl arg1=0x127f                 # BLKZEROOUT

        """,
        "net": """
        # A network interface: frames to and from a tap or a stream socket.
        recvfrom
        ioctl arg1=0x400454d0             # TUNSETOFFLOAD
        ioctl arg1=0x400454d9             # TUNSETQUEUE

        """,
        "rng": """
        # A source of entropy: what it needs is common.

        """,
        "console": """
        # A console: bytes to and from a stream, a pseudo-terminal or clients of a socket.
        recvfrom
        ioctl arg1=0x5411                 # SIOCOUTQ: what the peer has not read yet

        """,
    ]
}
