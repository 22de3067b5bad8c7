//go:build race

package catest

const raceEnabled = true
