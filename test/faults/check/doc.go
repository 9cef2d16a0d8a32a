// Package check judges what was recorded while a cluster ran under faults. Every check is a pure function from
// recordings to the problems it finds, in words; no problem means that the recordings are consistent with
// the promise. The tests hand each check a recording with a planted fault, so that silence means something.
package check
