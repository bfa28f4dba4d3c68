-- What is told next is what no reader's snapshot has shown yet: it was written last.
CREATE INDEX outbox_by_writer ON payments.outbox (written_by);
