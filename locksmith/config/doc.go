// Package config reads what an agent is set to.
//
// Settings come from, each over the one before:
//
//  1. the defaults;
//  2. the first of /etc/locksmith/locksmithd.yaml, /run/locksmith/locksmithd.yaml
//     and /usr/lib/locksmith/locksmithd.yaml that is there;
//  3. drop-ins, locksmithd.yaml.d/*.yaml in the same folders, by rising name. Of two
//     with one name that in /etc wins over that in /run, and that over /usr/lib;
//  4. update.conf of CoreOS and Flatcar, in /usr/share and then in /etc;
//  5. the environment;
//  6. the command line.
//
// As with systemd's files, an empty file or a link to /dev/null stands for none
// and hides those of its name in the folders behind it.
//
// A block of settings is merged with what was there, a list replaces it. A setting
// is named by its way from the top, as store.ca_file.
//
// Nothing is guessed. A setting that is not known, is given twice in a file, has
// no value or a wrong one is an error that names the setting and where it is
// written; there is a configuration only if all of it is right.
package config
