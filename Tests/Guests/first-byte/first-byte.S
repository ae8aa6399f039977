// The shortest life of a guest: one byte on COM1. What is measured with it is the machine that starts it.

    .section .text.start, "ax"
    .globl _start
    .code64
_start:
    movw $0x3f8, %dx
    movb $'!', %al
    outb %al, %dx
1:  cli
    hlt
    jmp 1b

    .section .note.GNU-stack, "", @progbits
