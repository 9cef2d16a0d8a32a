package homes

import "fmt"

// forcedStep separates the epochs that operators force from those that follow by vote: 2^32 moves fit between.
const forcedStep = 1 << 32

// Forced is the value of an operator's --force: without a majority, home opens in an epoch above all that the other
// side can reach by voting. It loses every write of the old home above its watermark here, those acknowledged under
// QUORUM included, and if the other side lives there are two homes until they hear of each other; then this value
// wins everywhere, and the writes of the other side in epochs that this one didn't know are set aside.
func Forced(known Value, home Life, marks Marks) (Command, error) {
	if known.Epoch == 0 || home.DC == "" || marks == nil {
		return Command{}, fmt.Errorf("%w: force needs a home with data and a keyspace that had one: got home %q and %s",
			ErrInvalid, home.DC, known)
	}
	v := next(known, home, marks(known.Home), 0)
	v.Epoch = (known.Epoch/forcedStep + 1) * forcedStep
	v.Forced = true
	return Command{Kind: Force, Known: v}, nil
}
