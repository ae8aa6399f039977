// What a snapshot's time is measured with: writes one word into each page of 64 MiB (or of TOUCH_MIB) from 16 MiB on, and then prints lines
// without end, a few dozen instructions apart. After a restore the next line tells that the guest goes on.
//
// Every instruction has the same bytes and meaning in 64-bit mode and in 32-bit protected mode, in which PVH begins.

#ifndef TOUCH_MIB
#define TOUCH_MIB 64
#endif

    .section .text.start, "ax"
    .globl _start
    .code64
_start:
    movl $0x1000000, %edi
1:  movl %edi, (%rdi)
    addl $4096, %edi
    cmpl $(0x1000000 + (TOUCH_MIB << 20)), %edi
    jb 1b
    movl $0x3f8, %edx
2:  movb $'!', %al
    outb %al, %dx
    movb $'\n', %al
    outb %al, %dx
    movl $20, %ecx
3:  subl $1, %ecx
    jnz 3b
    jmp 2b

    .section .note.GNU-stack, "", @progbits
