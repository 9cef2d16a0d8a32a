package main

import (
	"time"

	"github.com/spf13/cobra"

	"geogate/cmd/verify"
)

func newVerify() *cobra.Command {
	cfg := verify.Config{}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that datacenters hold equal data, and repair keys that differ",
		Long: "verify has the datacenters compare their data part by part, while they are written to, until all of\n" +
			"it is proven equal or keys are found that differ although both sides have applied the same writes.\n" +
			"--repair puts wrong copies right: the later stamp wins; of the same write with different contents the\n" +
			"majority of the datacenters, else the copy of the write's origin. It exits with 0 when all is equal,\n" +
			"with 1 when something differs or could not be proven in time.",
		Args: args(),
	}
	cmd.Flags().StringSliceVar(&cfg.Endpoints, "endpoint", []string{defaultAdmin},
		"admin addresses; one finds what differs from its datacenter, --repair needs one of each datacenter that is wrong")
	cmd.Flags().DurationVar(&cfg.Timeout, "timeout", time.Minute, "how long to try for a proof")
	cmd.Flags().BoolVar(&cfg.Repair, "repair", false, "put wrong copies right, and verify again")
	cmd.Flags().StringVar(&cfg.From, "from", "", "with --repair: the datacenter whose copies are right, whatever the rules say")
	keyspace := cmd.Flags().String("keyspace", "", "name, and repair, only what differs in the keyspace with this prefix; \"\" is the one that has all other keys")
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cfg.Timeout <= 0 {
			return usagef("--timeout is %s, want more than 0, such as 1m", cfg.Timeout)
		}
		if cfg.From != "" && !cfg.Repair {
			return usagef("--from says whose copies are right; it needs --repair")
		}
		if cmd.Flags().Changed("keyspace") {
			cfg.Keyspace = keyspace
		}
		r, err := verify.Run(cmd.Context(), cfg)
		if r != nil {
			if perr := o.print(cmd.OutOrStdout(), r, r.Write); perr != nil {
				return perr
			}
		}
		return err
	}
	return cmd
}
