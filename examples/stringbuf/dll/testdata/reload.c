/* Loads the library named by its argument, calls it and unloads it, several times. */
#include <stdio.h>

#include "sharedmem.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#include <unistd.h>
#define LoadLibraryA(path) dlopen(path, RTLD_NOW)
#define GetProcAddress dlsym
#define FreeLibrary(library) dlclose(library)
#define Sleep(ms) usleep((ms) * 1000)
#endif

typedef int(SHAREDMEM_CALL *setter)(const sharedmem_char *);
typedef int(SHAREDMEM_CALL *getter)(sharedmem_char *, sharedmem_size, sharedmem_size *);

int main(int argc, char *argv[])
{
	sharedmem_char buf[8];

	for (int i = 0; argc > 1 && i < 3; i++) {
		void *library = LoadLibraryA(argv[1]);
		setter set;
		getter get;

		if (!library) {
			printf("%s cannot be loaded\n", argv[1]);
			return 1;
		}
		set = (setter)(void *)GetProcAddress(library, "SetSharedMemStatus");
		get = (getter)(void *)GetProcAddress(library, "GetSharedMemStatus");
		if (!set || !get || set(SHAREDMEM_TEXT("reload")) != SHAREDMEM_OK || get(buf, 8, NULL) != SHAREDMEM_OK || buf[5] != 'd') {
			printf("load %d: a call failed\n", i);
			return 1;
		}
		FreeLibrary(library);
		Sleep(100); /* time to fail, for anything that the library left running */
	}
	printf("ok\n");
	return 0;
}
