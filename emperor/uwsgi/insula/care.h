/* What the two files of the plugin have of each other; uWSGI knows one declaration a plugin. */
extern struct uwsgi_option care_options[];
void care_load(void);
void care_master_cycle(void);
void insula_end_promptly(void);
void insula_emperor_wakes_on_children(void);
