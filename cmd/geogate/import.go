package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"geogate/cmd/importer"
)

// reportEvery is how often an import that does not run on a terminal says where it is.
const reportEvery = 5 * time.Second

func newImport() *cobra.Command {
	var (
		cfg      importer.Config
		from, to importer.Endpoint
		verbose  bool
	)
	cmd := &cobra.Command{
		Use:   "import --from-etcd ENDPOINTS",
		Short: "Copy keys and leases from an etcd",
		Long: "import copies the keys of an etcd, with their leases, follows the changes made meanwhile, and ends\n" +
			"once it has proved both sides equal at one revision of the etcd. Transactions stay whole.\n\n" +
			"With --follow it goes on until it is interrupted. To cut over: stop the writers at the etcd, run the\n" +
			"same command without --follow, and start the writers at geogate. Whatever ends an import, the same\n" +
			"command goes on from there. Revisions and versions of keys are geogate's own.",
		Args: args(),
	}
	f := cmd.Flags()
	f.StringSliceVar(&from.Addresses, "from-etcd", nil, "endpoints of the etcd, comma separated")
	f.StringSliceVar(&to.Addresses, "to", []string{"127.0.0.1:24000"}, "client endpoints of a geogate datacenter")
	f.StringVar(&cfg.Prefix, "prefix", "", "copy only the keys with this prefix")
	f.StringVar(&cfg.ToPrefix, "to-prefix", "", "put this in the place of the prefix")
	f.BoolVar(&cfg.Merge, "merge", false, "allow other keys at the destination and leave them alone")
	f.BoolVar(&cfg.Follow, "follow", false, "go on following the etcd until interrupted")
	f.StringVar(&cfg.Policy, "policy", "", "policy of the writes, such as QUORUM; the keyspace's when empty")
	addSecurity(cmd, "from", &from)
	addSecurity(cmd, "to", &to)
	f.BoolVar(&verbose, "verbose", false, "log what is tried again")
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if len(from.Addresses) == 0 {
			return usagef("--from-etcd is missing: name the etcd's client endpoints, such as 10.0.0.1:2379")
		}
		if cfg.ToPrefix != "" && cfg.Prefix == "" {
			return usagef("--to-prefix %q needs a --prefix that it takes the place of", cfg.ToPrefix)
		}
		stderr := cmd.ErrOrStderr()
		if verbose {
			cfg.Logger = slog.New(slog.NewTextHandler(stderr, nil))
		}
		cfg.Report = reporter(stderr)
		return runImport(cmd.Context(), cmd.OutOrStdout(), cfg, from, to, *o)
	}
	return cmd
}

func addSecurity(cmd *cobra.Command, side string, e *importer.Endpoint) {
	f := cmd.Flags()
	f.StringVar(&e.CA, side+"-cacert", "", "certificate authority of the servers; turns TLS on")
	f.StringVar(&e.Cert, side+"-cert", "", "certificate of this client")
	f.StringVar(&e.Key, side+"-key", "", "key of this client's certificate")
	f.StringVar(&e.User, side+"-user", "", "NAME:PASSWORD, or NAME with the password in GEOGATE_IMPORT_PASSWORD")
}

func runImport(ctx context.Context, w io.Writer, cfg importer.Config, from, to importer.Endpoint, o output) error {
	var err error
	if cfg.From, err = from.Dial(); err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer func() { _ = cfg.From.Close() }()
	if cfg.To, err = to.Dial(); err != nil {
		return fmt.Errorf("geogate: %w", err)
	}
	defer func() { _ = cfg.To.Close() }()
	result, err := importer.Run(ctx, cfg)
	if cfg.Follow && ctx.Err() != nil {
		err = nil // it was told to stop, and says how far it came
	}
	if err != nil {
		return err
	}
	return o.print(w, result, rows([][]string{
		{"KEYS", "WRITTEN", "LEASES", "PASSES", "REVISION", "VERIFIED"},
		{
			fmt.Sprint(result.Keys), fmt.Sprint(result.Written), fmt.Sprint(result.Leases), fmt.Sprint(result.Passes),
			fmt.Sprint(result.Revision), fmt.Sprint(result.Verified),
		},
	}))
}

// reporter shows progress: a bar on a terminal, a line now and then elsewhere.
func reporter(w io.Writer) func(importer.Progress) {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return bar(w)
	}
	var last time.Time
	return func(p importer.Progress) {
		if now := time.Now(); now.Sub(last) >= reportEvery {
			last = now
			_, _ = fmt.Fprintln(w, "geogate:", describeImport(p)) // a closed stderr must not end an import
		}
	}
}

func describeImport(p importer.Progress) string {
	if p.Phase == importer.PhaseFollow {
		return fmt.Sprintf("follow: %d keys written, at revision %d of %d", p.Written, p.Revision, p.SourceRevision)
	}
	return fmt.Sprintf("%s: %d of %d keys compared, %d written", p.Phase, p.Keys, p.Total, p.Written)
}

func bar(w io.Writer) func(importer.Progress) {
	b := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(w), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
	return func(p importer.Progress) {
		b.Describe(describeImport(p))
		if p.Phase == importer.PhaseFollow {
			b.ChangeMax64(-1)
			_ = b.Add(1) // as above
			return
		}
		b.ChangeMax64(max(p.Total, 1))
		_ = b.Set64(min(p.Keys, max(p.Total, 1)))
	}
}
