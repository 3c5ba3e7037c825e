package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table is one of the page: figures by system and column, one a round.
type table struct {
	title, about  string
	columns, unit string
	base          string // the system that the ratios are about
	systems       []string
	names         []string // of the columns
	figures       map[[2]string][]float64
	notes         []string
}

func (b *bench) table(title, columns, unit, base string) *table {
	t := newTable()
	t.title, t.columns, t.unit, t.base = title, columns, unit, base
	b.tables = append(b.tables, t)
	return t
}

// newTable is one that is on no page yet.
func newTable() *table { return &table{figures: map[[2]string][]float64{}} }

func (t *table) add(system, column string, figure float64) {
	if !slices.Contains(t.systems, system) {
		t.systems = append(t.systems, system)
	}
	if !slices.Contains(t.names, column) {
		t.names = append(t.names, column)
	}
	at := [2]string{system, column}
	t.figures[at] = append(t.figures[at], figure)
}

// markdown has a row for each system: median, least and most of the rounds, and
// in brackets how many times that is of the system which it is held against.
func (t *table) markdown(out *strings.Builder) {
	fmt.Fprintf(out, "\n## %s\n\n%s\n\n| %s, by %s |", t.title, t.about, t.unit, t.columns)
	for _, name := range t.names {
		fmt.Fprintf(out, " %s |", name)
	}
	fmt.Fprintf(out, "\n|---|%s\n", strings.Repeat("---|", len(t.names)))
	for _, system := range t.systems {
		fmt.Fprintf(out, "| %s |", system)
		for _, name := range t.names {
			all := t.figures[[2]string{system, name}]
			if len(all) == 0 {
				out.WriteString(" |")
				continue
			}
			fmt.Fprintf(out, " %s (%s to %s)", human(median(all)), human(slices.Min(all)), human(slices.Max(all)))
			if base := t.figures[[2]string{t.base, name}]; system != t.base && len(base) == len(all) {
				fmt.Fprintf(out, " **×%.2f**", t.ratio(system, name))
			}
			out.WriteString(" |")
		}
		out.WriteString("\n")
	}
	switch {
	case !slices.ContainsFunc(t.systems, func(system string) bool { return system != t.base }):
	case t.base == us:
		fmt.Fprintf(out, "\n×: %s divided by this system in the same round, median.\n", us)
	case slices.Contains(t.systems, t.base):
		fmt.Fprintf(out, "\n×: this system divided by %s in the same round, median.\n", t.base)
	}
	for _, note := range t.notes {
		fmt.Fprintf(out, "\n%s\n", note)
	}
}

// behind says with whom and where we can't keep up, by the ratios.
func (t *table) behind() []string {
	var lines []string
	for _, system := range t.systems {
		ours := strings.HasPrefix(system, us)
		if ours == (t.base == us) { // us against ourselves, or a peer against a peer
			continue
		}
		var at []string
		for _, name := range t.names {
			a, b := t.figures[[2]string{system, name}], t.figures[[2]string{t.base, name}]
			if len(a) == 0 || len(a) != len(b) {
				continue
			}
			if ratio := t.ratio(system, name); t.base == us && ratio < 1 || t.base != us && ratio > 1 {
				at = append(at, fmt.Sprintf("%s (×%.2f)", name, ratio))
			}
		}
		if at == nil {
			continue
		}
		whom := system
		if ours {
			whom = t.base + ", with " + system
		}
		lines = append(lines, fmt.Sprintf("%s, by %s: %s", whom, t.columns, strings.Join(at, ", ")))
	}
	return lines
}

// ratio is the median of the rounds' ratios: of us to a peer, or of a system to the
// peer that it is held against.
func (t *table) ratio(system, column string) float64 {
	a, b := t.figures[[2]string{t.base, column}], t.figures[[2]string{system, column}]
	if t.base != us {
		a, b = b, a
	}
	ratios := make([]float64, 0, len(a))
	for i := range a {
		ratios = append(ratios, a[i]/b[i])
	}
	return median(ratios)
}

// human is a figure with three digits that count.
func human(f float64) string {
	switch {
	case f >= 1e6:
		return fmt.Sprintf("%.2f M", f/1e6)
	case f >= 1000:
		text := fmt.Sprintf("%.0f", f)
		return text[:len(text)-3] + "," + text[len(text)-3:]
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.2f", f)
	}
}

func (b *bench) page() string {
	var out strings.Builder
	out.WriteString(b.preface())
	out.WriteString("\n## Where we are behind\n\n")
	for _, t := range b.tables {
		for _, line := range t.behind() {
			fmt.Fprintf(&out, "- %s: %s\n", t.title, line)
		}
	}
	for _, t := range b.tables {
		t.markdown(&out)
	}
	return out.String()
}

// keysOf are the keys of a map, sorted.
func keysOf[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
