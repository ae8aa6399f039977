// The PVH entry of a payload: 32-bit protected mode, flat segments, paging off, ebx -> hvm_start_info. Goes to long mode with the
// first GiB identity-mapped, then joins the 64-bit entry.

    .equ CR0_PE_PG, 0x80000001
    .equ CR4_PAE, 0x20
    .equ MSR_EFER, 0xc0000080
    .equ EFER_LME, 0x100
    .equ PRESENT_WRITE, 0x3
    .equ PRESENT_WRITE_LARGE, 0x83

    .section .text.start, "ax"
    .code32
guest_start32:
    cli
    lgdt guest_gdt_pointer
    movl $guest_pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME, %eax
    wrmsr
    movl %cr0, %eax
    orl $CR0_PE_PG, %eax
    movl %eax, %cr0
    ljmp $0x08, $1f
    .code64
1:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %ebx, %edi
    movl $1, %esi                       // the information is hvm_start_info
    jmp guest_enter

    // The tables are made by the assembler, so that nothing has to be filled in at run time.
    .section .data
    .balign 4096
guest_pml4:
    .quad guest_pdpt + PRESENT_WRITE
    .fill 511, 8, 0
guest_pdpt:
    .quad guest_pd + PRESENT_WRITE
    .fill 511, 8, 0
guest_pd:
    .set page, 0
    .rept 512
    .quad (page << 21) + PRESENT_WRITE_LARGE
    .set page, page + 1
    .endr
guest_gdt:
    .quad 0
    .quad 0x00af9b000000ffff            // 0x08: 64-bit code
    .quad 0x00cf93000000ffff            // 0x10: data
guest_gdt_pointer:
    .word . - guest_gdt - 1
    .long guest_gdt

    // XEN_ELFNOTE_PHYS32_ENTRY (18): tells the loader where the 32-bit entry is.
    .section .note.pvh, "a", @note
    .balign 4
    .long 2f - 1f
    .long 4f - 3f
    .long 18
1:  .asciz "Xen"
2:  .balign 4
3:  .long guest_start32
4:  .balign 4

    .section .note.GNU-stack, "", @progbits
