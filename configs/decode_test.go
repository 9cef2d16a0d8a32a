package configs

import (
	"errors"
	"testing"
	"time"
)

// recipe is a document that is no topology.
type recipe struct {
	Name  string         `yaml:"name"`
	Bake  *time.Duration `yaml:"bake"`
	Flour Bytes          `yaml:"flour"`
	Steps []struct {
		Do string `yaml:"do"`
	} `yaml:"steps"`
}

func TestDecodeIsAsStrictAsATopology(t *testing.T) {
	none := func(func(path, format string, args ...any)) {}
	r := recipe{Name: "bread"}
	if err := Decode("r.yaml", "recipe", []byte("bake: 40m\nflour: 1KiB\nsteps:\n  - {do: knead}\n"), &r, none); err != nil {
		t.Fatal(err)
	}
	if r.Name != "bread" || *r.Bake != 40*time.Minute || r.Flour != 1024 || len(r.Steps) != 1 || r.Steps[0].Do != "knead" {
		t.Errorf("read as %+v", r)
	}
	for text, want := range map[string]string{
		"bkae: 40m\n":              `r.yaml:1: bkae: unknown key; did you mean "bake"?`,
		"name: x\ndo: it\n":        `r.yaml:2: do: unknown key here; it belongs under "steps[]"`,
		"policy: ALL\n":            `r.yaml:1: policy: unknown key; the keys here are name, bake, flour, steps`,
		"steps:\n  - do: [1, 2]\n": `r.yaml:2: steps[0].do: found a list, want text`,
		"- x\n":                    `r.yaml:1: found a list, want keys such as name, bake, flour, steps`,
		"":                         `r.yaml: the file is empty; a recipe has the keys name, bake, flour, steps`,
		"name: x\n---\nname: y\n":  `r.yaml:2: a second YAML document starts here; a recipe is one document`,
	} {
		err := Decode("r.yaml", "recipe", []byte(text), &recipe{}, none)
		if !errors.Is(err, ErrInvalid) || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	err := Decode("r.yaml", "recipe", []byte("steps:\n  - {do: knead}\n  - {do: eat}\n"), &recipe{}, func(report func(path, format string, args ...any)) {
		report("steps[1].do", "is %q; bake it first", "eat")
	})
	if err == nil || err.Error() != `r.yaml:3: steps[1].do: is "eat"; bake it first` {
		t.Errorf("got %v", err)
	}
}
