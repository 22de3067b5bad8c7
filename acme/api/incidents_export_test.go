package api

// Row is one row of the table of routes, for the tests outside the package.
type Row struct {
	Name, Method, Path string
	Open, Key, Account bool // what a sender may prove
}

func Rows() []Row {
	out := make([]Row, 0, len(routes))
	for _, r := range routes {
		out = append(out, Row{r.name, r.method, r.path, r.open != nil, r.key != nil, r.account != nil})
	}
	return out
}
