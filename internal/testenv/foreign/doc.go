// Package foreign gives tests the drivers of other languages: what a snippet in the documentation imports.
//
//	Python  an interpreter with psycopg, in a virtual environment
//	Java    a class path with Postgres's JDBC driver
//	Node    a folder node_modules with pg
//
// Each is fetched once from its language's registry, by the clients that the machine has, into the cache folder of package
// host; versions are pinned. Several processes may ask at once: one fetches, the others wait. A run that was killed leaves
// nothing that looks whole. What cannot be had is an error, which a test hands to testenv.Skip.
package foreign
