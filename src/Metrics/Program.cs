using Platform.Contracts;
using Platform.Messaging;
using Platform.Metrics.Events;
using Platform.Metrics.Exposition;
using Platform.Metrics.Intake;
using Platform.Metrics.Prometheus;
using Platform.Metrics.Rules;
using Platform.Metrics.Scraping;
using Platform.Metrics.Stats;
using Platform.Postgres;
using Platform.SampleStore;
using Platform.ServiceDefaults;

var builder = WebApplication.CreateBuilder(args);

builder.AddServiceDefaults();
builder.AddPostgres("metricsdb");
builder.AddMessaging("metrics");
builder.AddAlertingClient();
builder.AddIncidentsClient();

builder.AddEvents();
builder.AddSampleStore();
builder.AddIntake();
builder.AddPrometheus();
builder.AddRuleQueries();
builder.AddScraping("metricsdb");
builder.AddExposition();

var app = builder.Build();

app.MapDefaultEndpoints();
app.MapEvents();
app.MapIntake();
app.MapPrometheus();
app.MapRuleQueries();
app.MapExposition();
app.MapStats();
app.MapDeadLetters("metrics");

app.Run();
