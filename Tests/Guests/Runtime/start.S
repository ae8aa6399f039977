// The 64-bit entry of a payload, as the Linux boot protocol describes it: long mode, identity-mapped paging, interrupts off,
// rsi -> boot_params.

    .section .text.start, "ax"
    .globl _start
    .code64
_start:
    movq %rsi, %rdi                     // where the loader's information lies
    xorl %esi, %esi                     // ... and that it is boot_params
    .globl guest_enter
guest_enter:
    leaq guest_stack_top(%rip), %rsp
    xorl %ebp, %ebp
    call guest_main
1:  cli
    hlt
    jmp 1b

    .section .bss
    .balign 16
    .skip 16384
guest_stack_top:

    .section .note.GNU-stack, "", @progbits
