package configs

import "testing"

func TestExampleLoads(t *testing.T) {
	got, err := Parse("geogate.example.yaml", Example)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"us-east", "eu-west"}; len(got.Datacenters) != 2 || got.Names()[0] != want[0] || got.Names()[1] != want[1] {
		t.Errorf("datacenters %v, want %v", got.Names(), want)
	}
}
