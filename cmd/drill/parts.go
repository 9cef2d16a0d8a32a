package drill

import (
	"fmt"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// The parts that the report's page is made of. All text is escaped.

func card(title string, content ...g.Node) g.Node {
	return h.Section(h.Class("card"), h.H2(g.Text(title)), g.Group(content))
}

// list is a card that stands out; nothing when there is nothing to list.
func list(title string, items []string) g.Node {
	return g.If(len(items) > 0, h.Section(h.Class("card why"), h.H2(g.Text(title)), h.Ul(g.Map(items, func(text string) g.Node { return h.Li(g.Text(text)) }))))
}

func soft(format string, a ...any) g.Node { return h.P(h.Class("soft"), g.Textf(format, a...)) }

func grid(rows ...g.Node) g.Node { return h.Div(h.Class("scroll"), h.Table(rows...)) }

func head(name string) g.Node { return h.Th(g.Text(name)) }

// num heads a column of numbers.
func num(name string) g.Node { return h.Th(h.Class("n"), g.Text(name)) }

func words(text string) g.Node { return h.Td(g.Text(text)) }

func value(text string) g.Node { return h.Td(h.Class("n"), g.Text(text)) }

func valuef(format string, a ...any) g.Node { return value(fmt.Sprintf(format, a...)) }

func judged(good bool, text string) g.Node {
	class := "bad"
	if good {
		class = "good"
	}
	return h.Td(h.Class(class), g.Text(text))
}
