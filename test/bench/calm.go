package main

// maxTries bounds how often a measurement is made that the hypervisor disturbs.
const maxTries = 3

// leastStolen measures, and again while the hypervisor takes too much of the machine. The measurement of which it took the least
// counts, whatever its figures: one that returns the steal of what it measured is one of any side.
func leastStolen[T any](r *runner, one func() (m T, steal float64, err error)) (best T, err error) {
	best, least, err := one()
	for tries := 1; err == nil && least > muchSteal && tries < maxTries; tries++ {
		r.report.Repeated++
		var m T
		var steal float64
		if m, steal, err = one(); err == nil && steal < least {
			best, least = m, steal
		}
	}
	return best, err
}
