/* What differs between machines, for programs without libc: system calls and where they start.
 *
 * A program defines `begin`, which gets the stack as the kernel has made it: argc, argv, 0, envp.
 */
#ifndef MACHINE_H
#define MACHINE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef int i32;
typedef long i64;

enum { PR_GET_DUMPABLE = 3, PR_SET_DUMPABLE = 4, PR_SET_SECCOMP = 22, PR_SET_NO_NEW_PRIVS = 38 };

#if defined(__x86_64__)
enum { AUDIT_ARCH = 0xC000003E, O_DIRECTORY_ = 0200000, O_NOFOLLOW_ = 0400000 };
enum { SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_lseek = 8, SYS_mmap = 9, SYS_rt_sigaction = 13,
       SYS_rt_sigprocmask = 14, SYS_wait4 = 61, SYS_kill = 62, SYS_capget = 125,
       SYS_rt_sigtimedwait = 128, SYS_prctl = 157,
       SYS_fgetxattr = 193, SYS_flistxattr = 196, SYS_getdents64 = 217, SYS_exit_group = 231,
       SYS_openat = 257, SYS_statx = 332, SYS_close_range = 436 };
static i64 call(i64 n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	i64 result;
	__asm__ volatile("syscall" : "=a"(result)
		: "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return result;
}
__asm__(".globl _start\n_start:\n xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call begin\n hlt\n");
#elif defined(__aarch64__) || defined(__riscv)
enum { SYS_fgetxattr = 10, SYS_flistxattr = 13, SYS_openat = 56, SYS_close = 57, SYS_getdents64 = 61,
       SYS_lseek = 62, SYS_read = 63, SYS_write = 64, SYS_capget = 90, SYS_exit_group = 94, SYS_kill = 129,
       SYS_rt_sigaction = 134, SYS_rt_sigprocmask = 135, SYS_rt_sigtimedwait = 137, SYS_prctl = 167,
       SYS_mmap = 222, SYS_wait4 = 260, SYS_statx = 291, SYS_close_range = 436 };
#if defined(__aarch64__)
enum { AUDIT_ARCH = 0xC00000B7, O_DIRECTORY_ = 040000, O_NOFOLLOW_ = 0100000 };
static i64 call(i64 n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
	register u64 x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = e;
	register u64 x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
		: "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n mov x29, #0\n mov x0, sp\n bl begin\n brk #0\n");
#else
enum { AUDIT_ARCH = 0xC00000F3, O_DIRECTORY_ = 0200000, O_NOFOLLOW_ = 0400000 };
static i64 call(i64 n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 a7 __asm__("a7") = n, a0 __asm__("a0") = a, a1 __asm__("a1") = b;
	register u64 a2 __asm__("a2") = c, a3 __asm__("a3") = d, a4 __asm__("a4") = e;
	register u64 a5 __asm__("a5") = f;
	__asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5)
		: "memory");
	return a0;
}
/* The linker reaches small data by gp, which nobody else sets. */
__asm__(".globl _start\n_start:\n .option push\n .option norelax\n la gp, __global_pointer$\n"
	" .option pop\n mv a0, sp\n call begin\n ebreak\n");
#endif
#else
#error "no system call convention for this architecture"
#endif

static void leave(int status)
{
	for (;;)
		call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

static int number(const char *digit)
{
	int value = 0;
	for (; *digit; digit++)
		value = value * 10 + *digit - '0';
	return value;
}

#endif
