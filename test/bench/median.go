package main

import (
	"reflect"
	"slices"
)

// median of an even number of values is the mean of the middle two; of none it is 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	mid := len(s) / 2
	if len(s)%2 == 1 {
		return s[mid]
	}
	return (s[mid-1] + s[mid]) / 2
}

// medians takes the median of each figure by itself, and of nothing else.
func medians(samples []sample) sample {
	var out sample
	fields := reflect.ValueOf(&out).Elem()
	for i := range fields.NumField() {
		if fields.Field(i).Kind() != reflect.Float64 {
			continue
		}
		values := make([]float64, len(samples))
		for j := range samples {
			values[j] = reflect.ValueOf(samples[j]).Field(i).Float()
		}
		fields.Field(i).SetFloat(median(values))
	}
	return out
}
