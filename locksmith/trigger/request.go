package trigger

import (
	"context"
	"fmt"
	"time"

	"github.com/coordd/coordd/locksmith/bus"
)

// lingering is how long who requests a reboot stays on the bus: those who listen ask the bus who it is.
const lingering = time.Second

// SendNeedReboot sends the signal with which update_engine says that an update
// is installed, as CoreOS's and Flatcar's locksmithctl send-need-reboot does. Every
// agent on this machine that listens to update_engine, old ones too, takes it up;
// whether one does is not known. It takes a second, or until ctx ends.
func SendNeedReboot(ctx context.Context) error {
	conn, err := bus.Connect(ctx, nil)
	if err != nil {
		return fmt.Errorf("trigger: send need-reboot: %w", err)
	}
	defer conn.Close()
	err = conn.Emit(enginePath, engineManager+".StatusUpdate", int64(0), float64(0), needReboot, "", int64(0))
	if err != nil {
		return fmt.Errorf("trigger: send need-reboot: %w", err)
	}
	var id string // the bus answers after it has passed the signal on
	if err := bus.Call(ctx, conn.BusObject(), "org.freedesktop.DBus.GetId", nil, &id); err != nil {
		return fmt.Errorf("trigger: send need-reboot: %w", err)
	}
	sleep(ctx, lingering)
	return nil
}
