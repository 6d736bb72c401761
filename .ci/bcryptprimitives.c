/*
 * A substitute for Windows's bcryptprimitives.dll, with the one function that
 * Go programs need, for versions of Wine that do not have the DLL.
 */

#include <windows.h>
#include <ntsecapi.h>

BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, void *reserved)
{
	return TRUE;
}

__declspec(dllexport) BOOL WINAPI ProcessPrng(unsigned char *data, size_t size)
{
	while (size > 0) {
		ULONG n = size < 1 << 30 ? (ULONG)size : 1 << 30; /* RtlGenRandom takes a 32-bit size */
		if (!RtlGenRandom(data, n))
			return FALSE;
		data += n;
		size -= n;
	}
	return TRUE;
}
