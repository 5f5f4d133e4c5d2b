module dt

go 1.26
