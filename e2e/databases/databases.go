// Package databases holds tests of recipes/fence/fencesql on SQLite and on a PostgreSQL server that the tests start.
package databases
