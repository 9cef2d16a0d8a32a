package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"geogate/configs"
)

func newConfigKeys() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "keys --dir DIR DC...",
		Short: "Make the keys of datacenters and print the lines for the topology",
		Long: "keys writes one nkey seed for each datacenter, readable by its owner only, and prints the lines\n" +
			"that belong into the topology. A seed goes to the machines of its own datacenter, nowhere else.",
		Example: "  geogate config keys --dir keys us-east eu-west",
		Args:    args("DC..."),
	}
	cmd.Flags().StringVar(&dir, "dir", "keys", "folder for the seeds")
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		for i, name := range names {
			if !configs.ValidName(name) {
				return usagef("%q can't name a datacenter; use up to 63 lower-case letters, digits and `-`", name)
			}
			if slices.Contains(names[:i], name) {
				return usagef("%s is there twice", name)
			}
		}
		return makeKeys(cmd.OutOrStdout(), dir, names, *o)
	}
	return cmd
}

// keyLine is one datacenter's key.
type keyLine struct {
	Name      string `json:"name"`
	PublicKey string `json:"public_key"`
	KeyFile   string `json:"key_file"`
}

func makeKeys(w io.Writer, dir string, names []string, o output) error {
	var made []keyLine
	var failed error
	for _, name := range names {
		path := filepath.Join(dir, name+".seed")
		public, err := configs.NewKey(path)
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s exists and may be in use; remove it, or use another --dir", path)
		}
		if err != nil {
			failed = fmt.Errorf("make the key of %s: %w", name, err)
			break
		}
		made = append(made, keyLine{name, public, path})
	}
	// What was made is printed even when a later one failed.
	err := o.print(w, made, func(w io.Writer) error {
		for _, k := range made {
			if _, err := fmt.Fprintf(w, "  - name: %s\n    public_key: %s\n    key_file: %s\n", k.Name, k.PublicKey, k.KeyFile); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(failed, err)
}
