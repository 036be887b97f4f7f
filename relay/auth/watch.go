package auth

import "time"

// Watch waits until a grant that ends at expires is over, and says why; nil when done is closed first, or the grant
// never ends (expires is zero). A session that needs the grant must end with it (CHECKLISTS S18). When the time has
// come, leeway included, check asks once more: where nothing needs a token the session goes on, however old its token is.
func Watch(done <-chan struct{}, expires time.Time, check func() error) error {
	if !expires.IsZero() {
		const past = time.Second // tokens count in whole seconds, and one still holds in the last of its leeway
		timer := time.NewTimer(time.Until(expires) + Leeway + past)
		defer timer.Stop()
		select {
		case <-done:
			return nil
		case <-timer.C:
		}
		if err := check(); err != nil {
			return err
		}
	}
	<-done
	return nil
}
