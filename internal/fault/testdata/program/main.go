// Program loses regions in Go code only.
package main

import (
	"fmt"

	"github.com/sharedseg/sharedseg/internal/fault/testdata/lose"
)

func main() { fmt.Print(lose.Lose()) }
