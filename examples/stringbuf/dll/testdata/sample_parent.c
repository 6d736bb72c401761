/* The sample's parent process: it declares the library's function itself, and does not use a status. */
#include <stdio.h>

#include "sample.h"

#ifndef _WIN32
#include <spawn.h>
#include <sys/wait.h>
extern char **environ;
#endif

extern VOID __cdecl SetSharedMem(LPWSTR lpszBuf);

int main(int argc, char *argv[])
{
	if (argc == 1) {
		printf("Please specify the child process\n");
		return 1;
	}
	printf("Process is writing to shared memory...\n");
	fflush(stdout);
	SetSharedMem(TEXT16("This is a test string"));

#ifdef _WIN32
	STARTUPINFOA start;
	PROCESS_INFORMATION child;

	ZeroMemory(&child, sizeof child);
	ZeroMemory(&start, sizeof start);
	start.cb = sizeof start;
	if (!CreateProcessA(NULL, argv[1], NULL, NULL, TRUE, 0, NULL, NULL, &start, &child)) {
		printf("CreateProcess failed (%lu)\n", GetLastError());
		return 1;
	}
	WaitForSingleObject(child.hProcess, INFINITE);
#else
	pid_t child;

	if (posix_spawnp(&child, argv[1], NULL, NULL, argv + 1, environ) != 0) {
		printf("posix_spawnp failed\n");
		return 1;
	}
	waitpid(child, NULL, 0);
#endif
	return 0;
}
