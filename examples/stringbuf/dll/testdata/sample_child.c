/* The sample's child process: it declares the library's function itself, and does not use a status. */
#include <stdio.h>

#include "sample.h"

extern VOID __cdecl GetSharedMem(LPWSTR lpszBuf, DWORD cchSize);

int main(void)
{
	WCHAR cBuf[MAX_PATH];

	GetSharedMem(cBuf, MAX_PATH);

	printf("Child process read from shared memory: ");
	for (int i = 0; cBuf[i]; i++)
		putchar(cBuf[i] < 0x80 ? (int)cBuf[i] : '?');
	printf("\n");
	return 0;
}
