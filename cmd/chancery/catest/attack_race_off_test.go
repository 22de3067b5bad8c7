//go:build !race

package catest_test

const raceDetector = false
