// Threads loses regions in C code, on threads of C and of Go.
package main

/*
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static char *mem;
static size_t size;
static long result;

static void *sum(void *unused) {
	long n = 0;
	for (size_t i = 0; i < size; i++)
		n += ((volatile char *)mem)[i];
	result = n;
	return 0;
}

static long on_c_thread(char *m, size_t n) {
	pthread_t t;
	mem = m, size = n;
	if (pthread_create(&t, 0, sum, 0) != 0)
		abort();
	pthread_join(t, 0);
	return result;
}

static long on_go_thread(char *m, size_t n) {
	char *copy = malloc(n);
	memcpy(copy, m, n);
	long last = copy[n - 1];
	free(copy);
	mem = m, size = n;
	sum(0);
	return result + last;
}
*/
import "C"

import (
	"fmt"
	"os"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fault/testdata/lose"
)

func main() {
	lost := 0
	for i := range 200 {
		f := lose.Open(4 * os.Getpagesize())
		f.Mem[0] = 1
		f.Cut()
		mem, n := (*C.char)(unsafe.Pointer(&f.Mem[0])), C.size_t(len(f.Mem))
		var sum C.long
		if i%2 == 0 {
			sum = C.on_c_thread(mem, n)
		} else {
			sum = C.on_go_thread(mem, n)
		}
		if !f.Region.Guarded() && sum == 0 && f.Region.State().Load() == 1 {
			lost++
		}
		f.Close()
	}
	fmt.Println("lost:", lost)
}
