/*
 * Writes a string to the shared memory, starts the child program that is its argument, and waits for it:
 *
 *	parent ./child
 */
#include <stdio.h>

#include "sharedmem.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
extern char **environ;
#endif

/* Runs the command line argv. Returns 0 if the child was started and exited with 0. */
static int run_child(char *argv[])
{
#ifdef _WIN32
	STARTUPINFOA start = {.cb = sizeof start};
	PROCESS_INFORMATION child;
	DWORD code = 1;

	/* On Windows a command line is one string. */
	if (!CreateProcessA(NULL, argv[0], NULL, NULL, FALSE, 0, NULL, NULL, &start, &child)) {
		fprintf(stderr, "CreateProcess %s: error %lu\n", argv[0], GetLastError());
		return 1;
	}
	WaitForSingleObject(child.hProcess, INFINITE);
	GetExitCodeProcess(child.hProcess, &code);
	CloseHandle(child.hThread);
	CloseHandle(child.hProcess);
	return code != 0;
#else
	pid_t child;
	int state;
	int error = posix_spawnp(&child, argv[0], NULL, NULL, argv, environ);

	if (error != 0) {
		fprintf(stderr, "%s: %s\n", argv[0], strerror(error));
		return 1;
	}
	return waitpid(child, &state, 0) != child || state != 0;
#endif
}

int main(int argc, char *argv[])
{
	int status;

	if (argc < 2) {
		fprintf(stderr, "Please specify the child program\n");
		return 2;
	}
	printf("Process is writing to shared memory...\n");
	fflush(stdout); /* before the child's output */

	status = SetSharedMemStatus(SHAREDMEM_TEXT("This is a test string"));
	if (status != SHAREDMEM_OK) {
		fprintf(stderr, "SetSharedMemStatus: status %d\n", status);
		return 1;
	}

	/* The child finds the string because this process is still running. */
	return run_child(argv + 1);
}
