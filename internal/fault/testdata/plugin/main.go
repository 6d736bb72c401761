// Plugin loses regions in a plugin, and then in the program. Both share one
// trap.
package main

import (
	"fmt"
	"os"
	"plugin"

	"github.com/sharedseg/sharedseg/internal/fault/testdata/lose"
)

func main() {
	p, err := plugin.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	f, err := p.Lookup("Lose")
	if err != nil {
		panic(err)
	}
	fmt.Print(f.(func() string)())
	fmt.Print(lose.Lose())
}
