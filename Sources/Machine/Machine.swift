// The x86-64 platform: what a guest finds in the machine beside its virtio devices.
//
// - AddressMap and GSI are the tables that all the rest follows: memory slots, the guest's memory map, ACPI, the ranges of devices.
// - Boot/ places a kernel (`Kernel.load`): a bzImage or an ELF file, an initrd, a command line, and what the boot protocol tells.
// - CPU/ says what the virtual processors are (`CPUIDPolicy`) and in which state the first one begins (`BootState`).
// - ACPI/ describes the machine to the guest (`ACPITables`): hardware-reduced, without PIC, PIT and fixed hardware.
// - IOAPIC/ and Legacy/ are the devices that are no virtio devices.
//
// Everything but the devices is a pure function into guest memory, and runs in tests without KVM.
