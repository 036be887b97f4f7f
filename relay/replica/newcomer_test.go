package replica

import (
	"testing"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// TestANewcomerAtTheNextWorker lets somebody ask for a format, on the node that is to make it next, while nobody does: what was
// begun for it as a replica ends as soon as the node makes the format itself, and who asks again gets that.
func TestANewcomerAtTheNextWorker(t *testing.T) {
	w := newWorld(t)
	c := publish(w.start("ingest", tree.Ingest))
	defer c.run()()
	makers := []*maker{{on: true}, {}}
	first := w.start("worker1", tree.Transcoder, making(makers[0]))
	next := w.start("worker2", tree.Transcoder, making(makers[1]))
	eventually(t, "the ladder is whole", func() bool { return next.wholeLadder() == nil })
	makers[0].turn(false)
	first.stop()
	w.forget("worker1")
	id := media.TrackID{Stream: cup, Format: made, Kind: media.Video}
	eventually(t, "nobody makes the format", func() bool { return len(next.config.Cluster.View().Makers(id)) == 0 })
	waiting := next.subscribe(made)
	defer waiting.Close()
	cursor := waiting.Log().Cursor(log.Live())

	makers[1].turn(true)
	began := time.Now()
	w.change(func() {})
	eventually(t, "what was begun to wait for another worker ends", cursor.Ended)
	if took := time.Since(began); took >= orphaned/2 {
		t.Errorf("it took %v", took)
	}
	pictures := watch(t, next.subscribe(made))
	eventually(t, "the node's own pictures come", func() bool { return pictures.count() > 5 })
}

// Parents that failed are remembered only as long as they are there, or put off.
func TestParentsLongGoneAreForgotten(t *testing.T) {
	w := newWorld(t)
	s := w.start("edge", tree.Edge)
	r := newReplica(s.Node, pictureID, log.New(pictureID, 0, log.Config{}).Writer())
	past := shun{until: time.Now().Add(-time.Second)}
	r.shunned = map[string]shun{"gone": past, "gone but put off": {until: time.Now().Add(time.Hour)}, "edge": past}
	r.shun("new", shun{until: time.Now().Add(time.Hour)})
	if _, known := r.shunned["gone"]; known || len(r.shunned) != 3 {
		t.Errorf("remembered are %v; want all but the one that is gone", r.shunned)
	}
}
