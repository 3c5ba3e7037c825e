package commands

import (
	"fmt"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

// plan is what would be changed.
type plan struct{ steps []step }

// step is a config before and after; nil is no value.
type step struct {
	name     string
	old, new config.Value
	version  int64 // of the value before, 0 if there is none
}

func (p *plan) add(name string, before, after config.Value) {
	p.steps = append(p.steps, step{name: name, old: before, new: after})
}

// table shows it as people know it: + is new, - goes, ~ changes.
func (p *plan) table() table {
	var t table
	for _, s := range p.steps {
		switch {
		case s.old == nil:
			t.rows = append(t.rows, row{[]string{"+", s.name, cell([]byte(s.new))}, green})
		case s.new == nil:
			t.rows = append(t.rows, row{[]string{"-", s.name, cell([]byte(s.old))}, red})
		default:
			t.rows = append(t.rows, row{[]string{"~", s.name, cell([]byte(s.old)) + " → " + cell([]byte(s.new))}, yellow})
		}
	}
	return t
}

// summary counts it.
func (p *plan) summary() string {
	var added, changed, removed int
	for _, s := range p.steps {
		switch {
		case s.old == nil:
			added++
		case s.new == nil:
			removed++
		default:
			changed++
		}
	}
	return fmt.Sprintf("%d to add, %d to change, %d to delete", added, changed, removed)
}

// showAndAsk prints a plan, for a person or beside the answer for a script, and asks
// whether it is to be done.
func (c *cli) showAndAsk(p *plan, namespace string, yes bool) error {
	if !c.changed("format") {
		if err := p.table().write(c.Out, c.colour()); err != nil {
			return err
		}
	}
	c.note("%s: %s", namespace, p.summary())
	return c.confirm(yes, "Do it?")
}

// doneText says what was done, and how to take it back.
func doneText(changes int, namespace string, position int64, correlationID string) string {
	return fmt.Sprintf("%s in %s, position %d; configctl revert -n %s --change %s takes back what it did", counted(changes, "change"), namespace, position, namespace, correlationID)
}

// counted is 1 change, 2 changes.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// compare plans the steps that make what there is equal to what is wanted. What is not in
// wanted stays unless prune; left is how many these are.
func compare(present []client.Config, wanted []entry, prune bool) (p plan, left int) {
	have := make(map[string]client.Config, len(present))
	for _, item := range present {
		have[item.Name] = item
	}
	for _, e := range wanted {
		item, there := have[e.name]
		delete(have, e.name)
		switch {
		case !there:
			p.add(e.name, nil, e.value)
		case canonical(item.Value) != canonical(e.value):
			p.steps = append(p.steps, step{e.name, config.Value(item.Value), e.value, item.Version})
		}
	}
	for _, item := range present {
		if _, unwanted := have[item.Name]; unwanted && prune {
			p.steps = append(p.steps, step{item.Name, config.Value(item.Value), nil, item.Version})
		}
	}
	if !prune {
		left = len(have)
	}
	return p, left
}

// changes are the steps as the API takes them. Each names the version that the plan
// was made from, so that nothing is overwritten that the plan did not show.
func (p *plan) changes() []client.Change {
	changes := make([]client.Change, 0, len(p.steps))
	for _, s := range p.steps {
		change := client.Delete(s.name)
		if s.new != nil {
			change = client.Set(s.name, s.new)
		}
		changes = append(changes, change.If(s.version))
	}
	return changes
}
