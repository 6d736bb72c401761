/*
 * Imitates the sample's own DLL, as a peer for ours: a mapping of 4096 bytes that holds a string. It is opened when the
 * library is loaded, and zeroed by the process that creates it.
 */
#include <stdlib.h>
#include <string.h>

#include "sample.h"

#define SHMEMSIZE 4096
#define UNITS (SHMEMSIZE / 2)

static LPWSTR mem;

static const char *name(void)
{
	const char *chosen = getenv("SHAREDMEM_NAME"); /* keeps tests apart from each other */

	return chosen ? chosen : "dllmemfilemap";
}

#ifdef _WIN32

BOOL WINAPI DllMain(HINSTANCE dll, DWORD reason, LPVOID reserved)
{
	static HANDLE object;
	BOOL first;

	(void)dll;
	(void)reserved;
	switch (reason) {
	case DLL_PROCESS_ATTACH:
		object = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, SHMEMSIZE, name());
		if (object == NULL)
			return FALSE;
		first = GetLastError() != ERROR_ALREADY_EXISTS;
		mem = MapViewOfFile(object, FILE_MAP_WRITE, 0, 0, 0);
		if (mem == NULL)
			return FALSE;
		if (first)
			memset(mem, 0, SHMEMSIZE);
		break;
	case DLL_PROCESS_DETACH:
		UnmapViewOfFile(mem);
		CloseHandle(object);
		break;
	}
	return TRUE;
}

#else

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

__attribute__((constructor)) static void attach(void)
{
	int first, object = shm_open(name(), O_CREAT | O_EXCL | O_RDWR, 0600);

	first = object >= 0;
	if (!first)
		object = shm_open(name(), O_RDWR, 0);
	if (object < 0 || (first && ftruncate(object, SHMEMSIZE) != 0))
		abort();
	mem = mmap(NULL, SHMEMSIZE, PROT_READ | PROT_WRITE, MAP_SHARED, object, 0);
	if (mem == MAP_FAILED)
		abort();
	close(object);
	if (first)
		memset(mem, 0, SHMEMSIZE);
}

#endif

__declspec(dllexport) VOID __cdecl SetSharedMem(LPWSTR lpszBuf)
{
	LPWSTR to = mem;
	DWORD count = 1;

	while (*lpszBuf && count++ < UNITS)
		*to++ = *lpszBuf++;
	*to = 0;
}

__declspec(dllexport) VOID __cdecl GetSharedMem(LPWSTR lpszBuf, DWORD cchSize)
{
	LPWSTR from = mem;

	while (*from && --cchSize)
		*lpszBuf++ = *from++;
	*lpszBuf = 0;
}
