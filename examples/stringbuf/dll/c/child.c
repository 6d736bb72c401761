/* Reads a string from the shared memory and prints it. It is started by parent.c. */
#include <locale.h>
#include <stdio.h>

#include "sharedmem.h"

/* Prints text in the encoding of the user's locale. */
static void print(const sharedmem_char *text)
{
#ifdef _WIN32
	printf("%ls", text);
#else
	mbstate_t state = {0};
	char bytes[32]; /* more than any MB_CUR_MAX */

	for (; *text; text++) {
		size_t n = c16rtomb(bytes, *text, &state);

		if (n == (size_t)-1) { /* not in that encoding, or half a surrogate pair */
			state = (mbstate_t){0};
			bytes[0] = '?';
			n = 1;
		}
		fwrite(bytes, 1, n, stdout);
	}
#endif
}

int main(void)
{
	sharedmem_char buf[SHAREDMEM_ROOM];
	int status = GetSharedMemStatus(buf, SHAREDMEM_ROOM, NULL);

	if (status != SHAREDMEM_OK) {
		fprintf(stderr, "GetSharedMemStatus: status %d\n", status);
		return 1;
	}
	setlocale(LC_ALL, "");
	printf("Child process read from shared memory: ");
	print(buf);
	printf("\n");
	return 0;
}
