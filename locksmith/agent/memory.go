package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// lastReboot is what an agent leaves behind for that of the next boot, in a file of
// the machine's own: the record of a slot may be gone by then, or there was none.
type lastReboot struct {
	BootID string `json:"boot_id"` // under which the reboot was asked for
	Reason string `json:"reason"`  // why
}

// remember says that the reboot is about to be asked for. That it cannot keeps no
// machine up: what is lost is that the reason is not followed twice.
func (a *Agent) remember() {
	if a.config.Memory == "" {
		return
	}
	b, err := json.Marshal(lastReboot{a.bootID, a.wish})
	if err == nil {
		err = os.WriteFile(a.config.Memory, b, 0o600)
	}
	if err != nil {
		a.config.Log.Warn("cannot write down why the machine reboots", "error", err)
	}
}

// recall reads why the boot before this one has ended, if an agent has ended it.
func (a *Agent) recall() {
	if a.config.Memory == "" {
		return
	}
	var last lastReboot
	b, err := os.ReadFile(a.config.Memory)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = json.Unmarshal(b, &last)
	}
	if err != nil {
		a.config.Log.Warn("cannot read why the machine was rebooted", "error", fmt.Errorf("agent: %s: %w", a.config.Memory, err))
	} else if last.BootID != a.bootID {
		a.spent = last.Reason
	}
}

// forget ends what was remembered: this agent knows it now, and one that is started anew may reboot for it again.
func (a *Agent) forget() {
	if a.config.Memory == "" {
		return
	}
	if err := os.Remove(a.config.Memory); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.config.Log.Warn("cannot forget why the machine was rebooted", "error", err)
	}
}
