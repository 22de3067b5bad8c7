//go:build race

package catest_test

const raceDetector = true
