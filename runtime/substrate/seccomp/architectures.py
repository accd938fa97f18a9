"""The architectures a profile may name, and which of them one machine's kernel runs."""

from __future__ import annotations

from substrate.errors import UnsupportedError
from substrate.record import record

# Set in every system call number of the x32 ABI (__X32_SYSCALL_BIT in asm/unistd.h).
X32_BIT = 0x40000000


@record
class Architecture:
    """A system call ABI: `token` is libseccomp's, `audit` what seccomp_data.arch holds.

    They differ for x32 alone, which the kernel reports as x86_64. `bits` is the width at which
    arguments are compared: a 32-bit process has no upper half, whatever the profile's value says.
    """

    name: str
    token: int
    audit: int
    bits: int = 64
    offset: int = 0


X86_64 = Architecture("SCMP_ARCH_X86_64", 0xC000003E, 0xC000003E)
# 64 bits although its pointers have 32: its registers arrive in the kernel whole.
X32 = Architecture("SCMP_ARCH_X32", 0x4000003E, 0xC000003E, offset=X32_BIT)
X86 = Architecture("SCMP_ARCH_X86", 0x40000003, 0x40000003, bits=32)
AARCH64 = Architecture("SCMP_ARCH_AARCH64", 0xC00000B7, 0xC00000B7)
ARM = Architecture("SCMP_ARCH_ARM", 0x40000028, 0x40000028, bits=32)
RISCV64 = Architecture("SCMP_ARCH_RISCV64", 0xC00000F3, 0xC00000F3)

# Every architecture whose system calls one kernel accepts, its native one first. Not here: s390x
# (clone's flags are its second argument) and powerpc and mips (multiplexed calls of their own).
FAMILIES = (
    (X86_64, X86, X32),
    (X86,),
    (AARCH64, ARM),
    (ARM,),
    (RISCV64,),
)

# What the OCI specification allows in `architectures`; the names without a row above are accepted
# and without effect, since no machine supported here runs them.
KNOWN_NAMES = frozenset(
    (
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_ARM",
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_MIPS",
        "SCMP_ARCH_MIPS64",
        "SCMP_ARCH_MIPS64N32",
        "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPSEL64",
        "SCMP_ARCH_MIPSEL64N32",
        "SCMP_ARCH_PPC",
        "SCMP_ARCH_PPC64",
        "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_S390",
        "SCMP_ARCH_S390X",
        "SCMP_ARCH_PARISC",
        "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_LOONGARCH64",
        "SCMP_ARCH_M68K",
        "SCMP_ARCH_SH",
        "SCMP_ARCH_SHEB",
    )
)


def machine_architectures(native: int) -> tuple[Architecture, ...]:
    """Return the family whose native architecture has this token."""
    for family in FAMILIES:
        if family[0].token == native:
            return family
    message = f"compiling a seccomp filter: no table for this architecture ({native:#x})"
    raise UnsupportedError(message, hint="run the bundle without linux.seccomp")
