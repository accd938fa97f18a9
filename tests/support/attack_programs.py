"""Attackers in C: static programs that make system calls no shell makes.

Compiled once per run of the test-suite, into a folder every user can read.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Makes the system calls its input lists, one per line: NAME ABI NUMBER ARGUMENT…, where an
# argument is a number or @text, and ABI is 64, 32 (int 0x80) or x32. Prints `NAME errno` for each,
# 0 for success. Every call is made in a child, so that one that kills is only `NAME killed SIGNAL`.
ATTEMPT = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long make(const char *abi, long number, long *a)
{
	if (!strcmp(abi, "x32"))
		number |= 0x40000000;
#if defined(__x86_64__)
	if (!strcmp(abi, "32")) {
		long result;
		__asm__ volatile("int $0x80" : "=a"(result)
			: "a"(number), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
			: "memory", "r8", "r9", "r10", "r11");
		errno = (int)result < 0 && (int)result > -4096 ? -(int)result : 0;
		return errno ? -1 : result;
	}
#endif
	return syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int main(void)
{
	static char line[4096];
	/* Below 4 GB, for the 32-bit ABI. */
	char *low = mmap(0, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	while (fgets(line, sizeof line, stdin)) {
		char *name = strtok(line, " \n"), *abi = strtok(0, " \n"), *word = strtok(0, " \n");
		long args[6] = { 0 }, number = strtol(word, 0, 0);
		char *at = low;
		int status;
		for (int i = 0; i < 6 && (word = strtok(0, " \n")); i++) {
			if (*word != '@') {
				args[i] = strtoul(word, 0, 0);
				continue;
			}
			strcpy(at, word + 1);
			args[i] = (long)at;
			at += 256;
		}
		fflush(stdout);
		pid_t child = fork();
		if (!child) {
			long self = syscall(SYS_getpid), result = make(abi, number, args);
			/* A fork that succeeded: the child must not say so too. */
			if (syscall(SYS_getpid) != self)
				_exit(0);
			printf("%s %d\n", name, result < 0 ? errno : 0);
			fflush(stdout);
			_exit(0);
		}
		waitpid(child, &status, 0);
		if (WIFSIGNALED(status))
			printf("%s killed %d\n", name, WTERMSIG(status));
	}
	return 0;
}
"""

# Looks at every process that appears until it is killed, and prints what it got hold of while that
# process was not yet the payload: no filter yet, or still a program of the runtime's.
LURKER = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static long seen, looked;

static int is_payload(int pid)
{
	char path[64], text[4096], *seccomp;
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	long size = readlink(path, text, sizeof text - 1);
	if (size > 0) {
		text[size] = 0;
		if (strstr(text, "memfd:") || strstr(text, "python"))
			return 0;
	}
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return 1;
	size = read(fd, text, sizeof text - 1);
	close(fd);
	if (size <= 0)
		return 1;
	text[size] = 0;
	seccomp = strstr(text, "Seccomp:\t");
	return !seccomp || seccomp[9] != '0';
}

static void hit(int pid, const char *what)
{
	printf("got %s of %d\n", what, pid);
	fflush(stdout);
}

static void look(int pid)
{
	static const char *names[] = { "exe", "root", "cwd", "environ", "maps", "mem", "ns/mnt",
		"fd/0", "fd/1", "fd/2", "fd/3", "fd/4", "fd/5", "fd/6", "fd/7", "fd/8", "fd/9" };
	char path[64], buffer[8];
	looked++;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, names[i]);
		int fd = open(path, O_RDONLY | O_NONBLOCK);
		if (fd >= 0) {
			if (!is_payload(pid))
				hit(pid, names[i]);
			close(fd);
		}
	}
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
		if (!is_payload(pid))
			hit(pid, "ptrace");
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		waitpid(pid, 0, __WALL);
		ptrace(PTRACE_DETACH, pid, 0, 0);
	}
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (pidfd >= 0) {
		for (int number = 0; number < 12; number++) {
			int fd = syscall(SYS_pidfd_getfd, pidfd, number, 0);
			if (fd >= 0) {
				if (!is_payload(pid))
					hit(pid, "descriptor");
				close(fd);
			}
		}
		close(pidfd);
	}
	struct iovec mine = { buffer, 8 }, its = { (void *)0x400000, 8 };
	if (process_vm_readv(pid, &mine, 1, &its, 1, 0) > 0 && !is_payload(pid))
		hit(pid, "memory");
}

int main(int argc, char **argv)
{
	int old[4096], count = 0, first = argc > 1 ? atoi(argv[1]) : 0;
	printf("lurking\n");
	fflush(stdout);
	for (;;) {
		DIR *proc = opendir("/proc");
		struct dirent *entry;
		while ((entry = readdir(proc))) {
			int pid = atoi(entry->d_name), known = pid <= first || pid == getpid();
			if (known)
				continue;
			for (int i = 0; i < count && !known; i++)
				known = old[i] == pid;
			if (!known && count < 4096) {
				old[count++] = pid;
				seen++;
			}
			/* Also the known ones, as long as they are not the payload. */
			if (!known || !is_payload(pid))
				look(pid);
		}
		closedir(proc);
		if (argc > 2 && access(argv[2], F_OK) == 0) {
			printf("seen %ld looked %ld\n", seen, looked);
			return 0;
		}
	}
}
"""

# Takes over a process of the world by ptrace and makes it call unshare(CLONE_NEWUSER).
POSSESS = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	int pid = atoi(argv[1]), status;
	struct user_regs_struct saved, registers;
	if (ptrace(PTRACE_SEIZE, pid, 0, 0)) {
		printf("seize %s\n", strerrorname_np(errno));
		return 0;
	}
	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	waitpid(pid, &status, __WALL);
	ptrace(PTRACE_GETREGS, pid, 0, &saved);
	/* It sleeps in a system call: at its return address the syscall instruction lies before. */
	registers = saved;
	registers.rip -= 2;
	registers.rax = 272; /* unshare */
	registers.orig_rax = -1;
	registers.rdi = 0x10000000; /* CLONE_NEWUSER */
	ptrace(PTRACE_SETREGS, pid, 0, &registers);
	ptrace(PTRACE_SYSCALL, pid, 0, 0);
	waitpid(pid, &status, __WALL);
	ptrace(PTRACE_SYSCALL, pid, 0, 0);
	waitpid(pid, &status, __WALL);
	ptrace(PTRACE_GETREGS, pid, 0, &registers);
	printf("unshare %ld\n", (long)registers.rax);
	ptrace(PTRACE_SETREGS, pid, 0, &saved);
	ptrace(PTRACE_DETACH, pid, 0, 0);
	return 0;
}
"""

# Exchanges two names of a directory, again and again, until it is killed: renameat2(2).
SWAPPER = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	for (;;) {
		renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE);
		usleep(argc > 3 ? 50 : 300);
	}
}
"""

# Tries to type into the terminal that is its standard input, also after making it its own.
TYPIST = r"""
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	for (int round = 0; round < 2; round++) {
		for (const char *at = "typed\n"; *at; at++) {
			ioctl(0, TIOCSTI, at);
			syscall(SYS_ioctl, 0, TIOCSTI | 0xdeadbeef00000000UL, at);
		}
		if (!fork()) {
			setsid();
			ioctl(0, TIOCSCTTY, 1);
			ioctl(0, TIOCSTI, "x");
			_exit(0);
		}
		setsid();
		ioctl(0, TIOCSCTTY, 1);
	}
	return 0;
}
"""

SOURCES = {
    "attempt": ATTEMPT,
    "lurker": LURKER,
    "possess": POSSESS,
    "swapper": SWAPPER,
    "typist": TYPIST,
}


def compile_all(folder: Path) -> Path:
    """Compile every program into the folder, and return it."""
    for name, source in SOURCES.items():
        file = folder / f"{name}.c"
        file.write_text(source, encoding="utf-8")
        command = ["gcc", "-O1", "-w", "-static", "-o", str(folder / name), str(file)]
        subprocess.run(command, check=True)
        (folder / name).chmod(0o755)
    return folder
