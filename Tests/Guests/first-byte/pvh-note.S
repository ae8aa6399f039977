// Lets loaders that know nothing but PVH (QEMU's) enter the payload: its few instructions mean the same in 32-bit protected mode, in
// which PVH begins.

    .equ XEN_ELFNOTE_PHYS32_ENTRY, 18

    .section .note.pvh, "a", @note
    .balign 4
    .long 2f - 1f
    .long 4f - 3f
    .long XEN_ELFNOTE_PHYS32_ENTRY
1:  .asciz "Xen"
2:  .balign 4
3:  .long _start
4:  .balign 4

    .section .note.GNU-stack, "", @progbits
