// P is the plugin.
package main

import "github.com/sharedseg/sharedseg/internal/fault/testdata/lose"

// Lose is looked up.
func Lose() string { return lose.Lose() }

func main() {}
