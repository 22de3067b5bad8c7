//go:build !race

package catest

const raceEnabled = false
